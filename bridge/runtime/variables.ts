/** The word in an environment variable; undefined where it is not set, or blank. */
export const variable = (name: `TORCHWIRE_${string}`): string | undefined => process.env[name]?.trim() || undefined;
