"""Published tokenizer folders of every kind -> one tokenizer.json and its rule of padding."""
