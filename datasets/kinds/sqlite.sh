# shellcheck shell=bash disable=SC2034,SC2154 # its variables are the driver's
# SPDX-License-Identifier: Apache-2.0
#
# A real SQLite database: a small shop with customers, products, orders and
# their lines, and the indices such a thing has. Rows are inserted until the
# database has reached exactly the size (SQLite itself holds the limit), by
# statements whose values follow from the seed alone.

kind_text='a real SQLite database of rows and indices, full to the last page'
kind_version=1
kind_repeat=same-tools
kind_tools='sqlite3'

kind_check()
{
	multiple_of 4096
	at_least 262144 256K
}

kind_versions()
{
	sqlite3 --version | sed 's/^\([^ ]*\).*/sqlite=\1/'
}

# A full database is how a step ends, so it is told apart from a failure:
# 0 done, 1 full and rolled back; anything else ends the making.
sql()
{
	if sqlite3 -bail -init /dev/null "$scratch/db" >sql.out 2>sql.err <<END; then
PRAGMA journal_mode = MEMORY;
PRAGMA synchronous = OFF;
PRAGMA cache_size = -65536;
PRAGMA max_page_count = $((bytes / 4096));
BEGIN;
$1
COMMIT;
END
		return 0
	fi
	grep -q 'database or disk is full' sql.err ||
		fail "sqlite3: $(head -n 1 sql.err)"
	# The same words stand for a full file system.
	check_space_for_kind
	return 1
}

check_space_for_kind()
{
	local free

	free=$(df --output=avail -B1 -- "$scratch" | tail -n 1)
	((free > 1048576)) || fail 'no space left on device'
}

# The numbers of the first order and the count of a step are all that varies.
orders()
{
	sed -e "s/@FIRST@/$1/g" -e "s/@COUNT@/$2/g" -e "s/@SEED@/$seed/g" \
		"$here/kinds/sqlite-orders.sql"
}

pages_now()
{
	sqlite3 -init /dev/null "$scratch/db" 'PRAGMA page_count' ||
		fail 'sqlite3: cannot count the pages'
}

# Steps as large as will surely fit, then smaller ones, to the single order.
fill_rows()
{
	local first=1 count=100 pages=$((bytes / 4096)) before after

	before=$(pages_now) || exit 1
	while ((count > 0)); do
		if ! sql "$(orders "$first" "$count")"; then
			count=$((count / 2))
			continue
		fi
		after=$(pages_now) || exit 1
		progress $((after * 4096))
		first=$((first + count))
		((after > before)) &&
			count=$((count * (pages - after) * 3 / 4 / (after - before)))
		((count >= 1)) || count=1
		((count <= 500000)) || count=500000
		before=$after
	done
}

# What is left is less than one order with its index pages: a row of this
# table takes exactly a page.
fill_pages()
{
	local left=$((bytes / 4096)) now

	now=$(pages_now) || exit 1
	for ((left -= now; left > 0; left--)); do
		sql 'INSERT INTO note(text) VALUES (printf("%.*c", 4000, "n"));' ||
			break
	done
	now=$(pages_now) || exit 1
	((now == bytes / 4096)) ||
		fail "the database has $now pages instead of $((bytes / 4096))"
}

kind_make()
{
	cd -- "$scratch" || fail 'cannot enter the scratch folder'
	sqlite3 -bail -init /dev/null "$scratch/db" \
		<"$here/kinds/sqlite-schema.sql" >/dev/null ||
		fail 'sqlite3: the schema failed'
	fill_rows
	fill_pages
	[[ $(sqlite3 -init /dev/null "$scratch/db" 'PRAGMA quick_check') == ok ]] ||
		fail 'sqlite3: the database does not pass its own check'
	mv -- "$scratch/db" "$1"
}
