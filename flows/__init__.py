"""When, and in which order: each flow reads like its line in the README's picture."""
