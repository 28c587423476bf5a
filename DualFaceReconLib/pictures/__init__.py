"""What people look at: films, bones, overviews, reports, and the words in them."""
