"""The small world that the demo and the tests run on."""
