-- Whether `name` is an attribute that labels of these analyses make.
has({analyses:Array(String)}, extract(name, '^tracetaxa[.]([^.]+)[.](?:(?:sub)?category(?:_id)?|confidence|labeller|taxonomy_version|run_id|attribute[.].*)$'))
