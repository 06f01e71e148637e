"""What every room uses: errors, files, progress, records, cost, statistics and the file layout."""
