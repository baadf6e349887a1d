"""Bodies of credentials and the keychain."""
