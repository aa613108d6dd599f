"""Output formats: Markdown, LaTeX and HTML tables, and the common elements and style of the figures."""
