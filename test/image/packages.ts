/** Prints where the packages of the worker's environment lie. They must be of the image's Python, 3.11. */
import { execa } from "execa";
import { ensurePython } from "torchwire";

const { executable } = await ensurePython();
const code = "import sys, sysconfig; print('.'.join(map(str, sys.version_info[:2])), sysconfig.get_path('purelib'))";
const [version, folder] = (await execa(executable, ["-c", code])).stdout.split(" ", 2);
if (version === "3.11") console.log(folder);
else {
  console.error(
    `.ci/image: not built: ${executable} is Python ${version}, not 3.11; ".ci/image whole" installs the packages`,
  );
  process.exitCode = 75;
}
