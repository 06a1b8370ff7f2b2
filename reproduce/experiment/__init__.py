"""The one runner: a `Run` is trained, predicted, scored and recorded by `execute`."""
