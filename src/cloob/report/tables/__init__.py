"""The tables: a module with a constant `TABLE` and a function `build(inputs) -> (document, long table)` each.

The other modules here are what several tables share.
"""
