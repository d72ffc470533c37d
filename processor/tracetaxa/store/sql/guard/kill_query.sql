-- Ends the query of one request; the request's tag is its log comment.
KILL QUERY WHERE Settings['log_comment'] = {tag:String} ASYNC
