"""Run the authors' training code and ours on the same batches, and print the differences.

The authors' repositories, ml-jku/cloob and ml-jku/hopfield-layers, are not part of this project; the user
supplies checkouts of them. Results and explanations: docs/fidelity.md.
"""
