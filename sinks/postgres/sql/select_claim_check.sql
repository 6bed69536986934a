SELECT letter FROM dead_letter_originals WHERE letter_id = %(letter_id)s AND sha256 = %(sha256)s
