"""Tables, figures and verdicts from the records: `select` and `text` read and write them, the others arrange."""
