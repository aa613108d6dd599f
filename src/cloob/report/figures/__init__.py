"""The figures: a module with `FIGURE`, `read(inputs) -> data` and `draw(data, labels) -> Figure` each."""
