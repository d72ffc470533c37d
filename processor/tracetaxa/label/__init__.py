"""Labels for all traffic: a classifier distilled from the labels of an analysis."""
