"""Tables, plots and the page. No number is computed here."""
