"""The tables; each module defines `TABLE` and `build(inputs) -> (document, long table)`.

Modules without a constant `TABLE` contain code that several tables share.
"""
