"""A build as what others build on: an Xcode project with the runner and a small app."""
