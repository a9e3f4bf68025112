/** What the environment says by a variable that holds a word; undefined where it is not set, or blank. */
export const variable = (name: `TORCHWIRE_${string}`): string | undefined => process.env[name]?.trim() || undefined;
