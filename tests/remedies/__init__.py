"""What messages tell a user to do, carried out: `tests/test_remedies.py` runs all that is here."""
