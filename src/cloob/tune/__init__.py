"""Stage `tune`: the trials of a hyperparameter search become one recipe per objective."""
