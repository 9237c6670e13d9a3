"""Bad inputs: what is typed or given, and the sentence it must end in."""
