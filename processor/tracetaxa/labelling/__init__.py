"""Labels for every trace: what is learned from a run, who labels, what a model is asked. The parts are in
label/."""
