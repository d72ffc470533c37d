SELECT count() AS closed_traces FROM traces FINAL
