"""builder-tool."""
