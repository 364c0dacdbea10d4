/*-------------------------------------------------------------------------
 *
 * ident.c
 *	  Quoting and generated names.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <stdarg.h>

#include "catalog/pg_collation.h"
#include "commands/defrem.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/formatting.h"
#include "utils/lsyscache.h"

#include "util/ident.h"

/*
 * The relation's name, qualified and quoted, fit for any search_path.
 */
char *
zdm_quote_relation(Oid relid)
{
	char	   *name = get_rel_name(relid);

	if (name == NULL)
		elog(ERROR, "cache lookup failed for relation %u", relid);
	return quote_qualified_identifier(get_namespace_name(get_rel_namespace(relid)),
									  name);
}

/*
 * The relation's bare name for messages; its oid where it is gone.
 */
char *
zdm_relation_label(Oid relid)
{
	char	   *name = get_rel_name(relid);

	return name ? name : psprintf("%u", relid);
}

/*
 * A migration's default name: lower case, cut at a character's end so that
 * it fits a name.
 */
char *
zdm_default_name(const char *format,...)
{
	StringInfoData raw;
	char	   *lower;
	int			len;

	initStringInfo(&raw);
	for (;;)
	{
		va_list		args;
		int			needed;

		va_start(args, format);
		needed = appendStringInfoVA(&raw, format, args);
		va_end(args);
		if (needed == 0)
			break;
		enlargeStringInfo(&raw, needed);
	}
	lower = str_tolower(raw.data, raw.len, DEFAULT_COLLATION_OID);
	len = pg_mbcliplen(lower, (int) strlen(lower), NAMEDATALEN - 1);
	lower[len] = '\0';
	return lower;
}

/*
 * The name that something has while it waits to be dropped.
 */
char *
zdm_hidden_name(const char *name)
{
	return makeObjectName("~zdm", name, NULL);
}

/*
 * A list of C strings as "a", "b" for messages.
 */
char *
zdm_names_text(List *names)
{
	StringInfoData buf;
	ListCell   *lc;

	initStringInfo(&buf);
	foreach(lc, names)
		appendStringInfo(&buf, "%s\"%s\"", buf.len ? ", " : "",
						 lfirst(lc) ? (char *) lfirst(lc) : "NULL");
	return buf.data;
}
