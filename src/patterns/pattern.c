/*-------------------------------------------------------------------------
 *
 * pattern.c
 *	  What patterns share.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <stdarg.h>

#include "lib/stringinfo.h"
#include "utils/builtins.h"

#include "patterns/pattern.h"

ZdmNote *
zdm_note(bool warn, const char *format,...)
{
	ZdmNote    *note = palloc0_object(ZdmNote);
	StringInfoData buf;

	initStringInfo(&buf);
	for (;;)
	{
		va_list		args;
		int			needed;

		va_start(args, format);
		needed = appendStringInfoVA(&buf, format, args);
		va_end(args);
		if (needed == 0)
			break;
		enlargeStringInfo(&buf, needed);
	}
	note->warn = warn;
	note->text = buf.data;
	return note;
}

/*
 * For ereport(): what to do about a migration that is in the way.
 */
int
zdm_hint_rollback(ZdmMigration *migration)
{
	return errhint("Finish the migration first, or SELECT zdm.rollback(%s);",
				   quote_literal_cstr(migration->name));
}
