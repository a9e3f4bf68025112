/**
 * Records `npm start` in a terminal of its own, and puts the final screen into README.md:
 *
 *     npx tsx bench/recording.ts
 */
import { describeMachine } from "./machine.ts";
import { putIntoReadme, screenOf } from "./terminal.ts";

const screen = await screenOf("npm start");
const { cpu, cores } = describeMachine();
await putIntoReadme(
  "recording",
  undefined,
  `\`npm start\`, as a terminal shows it when it is over (${cpu}, ${cores} cores):\n\n\`\`\`\n${screen.slice(screen.indexOf("torch "))}\n\`\`\``,
);
