"""Image and text features, extracted once and cached."""
