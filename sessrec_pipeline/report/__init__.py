"""What people look at: figures as SVG text, and the report as one self-contained page."""
