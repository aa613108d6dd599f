"""The synthetic toy dataset that the demo and the tests run on."""
