"""Old executions as Parquet files elsewhere: written, proved by digests, brought back."""
