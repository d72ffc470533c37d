SELECT SessionId, Revision FROM sessions FINAL WHERE SessionId IN {ids:Array(String)}
