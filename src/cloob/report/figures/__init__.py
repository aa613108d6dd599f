"""The figures; each module defines `FIGURE`, `read(inputs) -> data` and `draw(data, labels) -> Figure`."""
