"""What the recipes share: text, subwords, data-bins, and steps that go on where they stopped."""
