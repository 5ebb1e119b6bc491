"""The web UI: the commands in a browser, on this machine. `entracte ui` starts it."""
