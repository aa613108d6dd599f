"""Result files become tables and figures."""
