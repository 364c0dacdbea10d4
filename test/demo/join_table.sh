# shellcheck shell=bash
# The second example: a join table becomes a column while an old application
# writes the one and a new application the other.  Sourced by run.

JOIN_MIGRATION=fold_used_voucher_into_voucher_user_id
JOIN_VOUCHERS=50000

join_prepare()
{
	demo_psql -o /dev/null <<-END
		CREATE TABLE voucher (id int PRIMARY KEY, code text NOT NULL);
		CREATE TABLE used_voucher (
			user_id bigint NOT NULL REFERENCES users ON DELETE CASCADE,
			voucher_id int NOT NULL UNIQUE REFERENCES voucher ON DELETE CASCADE,
			PRIMARY KEY (user_id, voucher_id));
		INSERT INTO voucher SELECT i, 'code ' || i FROM generate_series(1, $JOIN_VOUCHERS) AS i;
		INSERT INTO used_voucher SELECT u.id, row_number() OVER () FROM (SELECT id FROM users LIMIT $JOIN_VOUCHERS / 2) AS u;
		CREATE TABLE redeemer AS SELECT row_number() OVER () AS n, id FROM (SELECT id FROM users LIMIT 1000) AS u;
		CREATE INDEX ON redeemer (n);
	END
	# Both applications redeem vouchers and take them back.
	cat > "$DEMO_TEMP/join_old" <<-END
		\\set v random(1, $JOIN_VOUCHERS)
		\\set u random(1, 1000)
		INSERT INTO used_voucher (user_id, voucher_id) SELECT id, :v FROM redeemer WHERE n = :u
			ON CONFLICT (voucher_id) DO UPDATE SET user_id = excluded.user_id;
		\\set v random(1, $JOIN_VOUCHERS)
		DELETE FROM used_voucher WHERE voucher_id = :v;
	END
	cat > "$DEMO_TEMP/join_new" <<-END
		\\set v random(1, $JOIN_VOUCHERS)
		\\set u random(1, 1000)
		UPDATE voucher SET user_id = (SELECT id FROM redeemer WHERE n = :u) WHERE id = :v;
		\\set v random(1, $JOIN_VOUCHERS)
		UPDATE voucher SET user_id = NULL WHERE id = :v;
	END
}

#   join_start old|new
join_start()
{
	pgbench -U shop -n -M prepared -c "$APP_CONNECTIONS" -j 1 -R "$DEMO_RATE" -T 600 \
		-f "$DEMO_TEMP/join_$1" shop > "$DEMO_TEMP/join_$1.out" 2>&1 &
	APP_PID[join_$1]=$!
}

# Ends the application, and adds up what it has said.
join_stop()
{
	local done
	kill -ALRM "${APP_PID[join_$1]}" 2> /dev/null || true
	wait "${APP_PID[join_$1]}" || JOIN_FAILED=$((JOIN_FAILED + 1))
	unset "APP_PID[join_$1]"
	done=$(sed -n 's/^number of transactions actually processed: \([0-9]*\).*/\1/p' "$DEMO_TEMP/join_$1.out")
	JOIN_RUN=$((JOIN_RUN + ${done:-0}))
	JOIN_FAILED=$((JOIN_FAILED + $(sed -n 's/^number of failed transactions: \([0-9]*\).*/\1/p' "$DEMO_TEMP/join_$1.out")))
	demo_say "the $1 application stops: ${done:-0} transactions"
}

demo_join_table()
{
	local rows
	JOIN_RUN=0 JOIN_FAILED=0
	demo_heading "The second example: used_voucher becomes voucher.user_id"
	join_prepare
	demo_say "the old application runs: it reads and writes used_voucher"
	join_start old
	sleep 2
	demo_call expand "SELECT zdm.join_table_to_column('used_voucher', 'voucher', 'user_id')"
	demo_call migrate "CALL zdm.wait('$JOIN_MIGRATION', timeout => '5 minutes')"
	demo_say "the new application starts: it reads and writes voucher.user_id"
	join_start new
	sleep 4
	rows=$(demo_psql -At -c "SELECT count(*) FROM voucher v FULL JOIN used_voucher u ON u.voucher_id = v.id WHERE v.user_id IS DISTINCT FROM u.user_id")
	demo_say "plain SQL finds $rows vouchers on which both shapes differ"
	join_stop old
	demo_call contract "SELECT zdm.contract('$JOIN_MIGRATION')"
	demo_say "the new application goes on alone"
	sleep 2
	join_stop new
	echo
	echo "  $JOIN_FAILED of $JOIN_RUN transactions failed, $rows rows differ"
	[ "$JOIN_FAILED" -eq 0 ] && [ "$rows" -eq 0 ] && [ "$JOIN_RUN" -gt 0 ]
}
