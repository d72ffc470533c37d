-- The text of a tree, and the tree of that text, which must be the same.
WITH formatQueryFromJSON({tree:String}) AS text
SELECT text, parseQueryToJSON(text)
