"""Documents made of the declarations: the AsyncAPI document and the page of messages."""
