// Core ML.
