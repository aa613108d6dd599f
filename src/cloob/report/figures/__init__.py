"""One module per figure, named as the figure: `read` gives the data behind it, `draw` the figure."""
