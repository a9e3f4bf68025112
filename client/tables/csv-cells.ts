/** Cells of CSV as values, and the type of a column by all its cells. */

/** The types that a column of a CSV file may have. */
export type ColumnType = "number" | "bigint" | "boolean" | "string" | "date";

export const columnTypes: readonly ColumnType[] = ["number", "bigint", "boolean", "string", "date"];

/** The value of a cell. A missing number is NaN; any other missing value is null. */
export type CsvValue = number | bigint | boolean | string | Date | null;

/** Cells that hold no value: those of pandas. */
export const pandasMissing: readonly string[] = [
  "",
  ..."#N/A|#N/A N/A|#NA|-1.#IND|-1.#QNAN|-NaN|-nan|1.#IND|1.#QNAN|<NA>|N/A|NA|NULL|NaN|None|n/a|nan|null".split("|"),
];

const NUMBER = /^[ \t]*[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?[ \t]*$/;
const INFINITE = /^[ \t]*([+-]?)inf(?:inity)?[ \t]*$/i;
const WHOLE = /^[ \t]*[+-]?\d+[ \t]*$/;
/** 007 is mostly a code, which would lose its zeros. */
const PADDED = /^[ \t]*[+-]?0\d/;
const TRUTH = /^(?:true|false)$/i;
const DATE = /^(\d{4}-\d{2}-\d{2})(?:[T ](\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?)(Z|[+-]\d{2}:?\d{2})?)?$/;

/** Finds the type of a column, cell by cell. */
export class TypeFinder {
  #number = true;
  #whole = true;
  #safe = true;
  #truth = true;
  #some = false;

  see(cell: string): void {
    if (this.#number || this.#truth) {
      this.#some = true;
      if (this.#truth && !TRUTH.test(cell)) this.#truth = false;
      if (this.#number) this.#seeNumber(cell);
    }
  }

  /** Text, unless every cell is a number, or every cell is true or false. A column without a value holds numbers. */
  get type(): ColumnType {
    if (!this.#some) return "number";
    if (this.#number) return this.#whole && !this.#safe ? "bigint" : "number";
    return this.#truth ? "boolean" : "string";
  }

  #seeNumber(cell: string): void {
    if (WHOLE.test(cell) && !PADDED.test(cell)) this.#safe &&= Number.isSafeInteger(Number(cell));
    else {
      this.#whole = false;
      this.#number = (NUMBER.test(cell) && !PADDED.test(cell)) || INFINITE.test(cell);
    }
  }
}

/** The value of a cell that is not missing; undefined where it is none of this type. */
export function valueOf(cell: string, type: ColumnType): CsvValue | undefined {
  switch (type) {
    case "string":
      return cell;
    case "number":
      return numberOf(cell);
    case "bigint":
      return WHOLE.test(cell) ? BigInt(cell.replace("+", "")) : undefined;
    case "boolean":
      return TRUTH.test(cell) ? cell.length === 4 : undefined;
    default:
      return dateOf(cell);
  }
}

function numberOf(cell: string): number | undefined {
  if (NUMBER.test(cell)) return Number(cell);
  const sign = INFINITE.exec(cell)?.[1];
  return sign === undefined ? undefined : sign === "-" ? -Infinity : Infinity;
}

/** A date or a time by ISO 8601. Without a zone it is UTC: the same on every machine. */
function dateOf(cell: string): Date | undefined {
  const [, day, time, zone = "Z"] = DATE.exec(cell) ?? [];
  if (day === undefined) return undefined;
  const midnight = new Date(day);
  const date = time === undefined ? midnight : new Date(`${day}T${time}${zone.replace(/(\d{2})(\d{2})$/, "$1:$2")}`);
  if (Number.isNaN(midnight.getTime()) || Number.isNaN(date.getTime())) return undefined;
  // JavaScript takes the 30th of February for a day of March.
  return midnight.toISOString().startsWith(day) ? date : undefined;
}
