-- Which classifier labels for an analysis: the newest row. Learning adds one; so does going back to an older one.
CREATE TABLE IF NOT EXISTS classifier_choices
(
    Analysis LowCardinality(String),
    ClassifierVersion String,
    ChosenBy String,
    ChosenAt DateTime64(9) DEFAULT now64(9)
)
ENGINE = MergeTree
ORDER BY (Analysis, ChosenAt)
