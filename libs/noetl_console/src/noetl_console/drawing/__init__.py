"""Pictures and texts made of the API's answers, without knowing of pages."""
