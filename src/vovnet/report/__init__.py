"""Tables, figures and sanity checks. Reads results only; torch never loads here."""
