"""From a model and a query to numbers: draws in a thread, stored once, read in many ways. No widgets here."""
