"""The tool kind `snowflake`, and Snowflake as source and target of `transfer`."""
