let help = """
    entracte-run: runs plans that `compile` of Entracte made.

    entracte-run run BUILD [options]        run the plan in the folder BUILD
      --prompt TEXT, --prompts FILE         the plan's text; given again, and of a file each line, a run for each
      --negative TEXT                       the negative prompt, where the plan has one
      --seed N, --seeds 0-3,8               the plan's seed, a run for each; `random` draws one and says which
      --input NAME=VALUE                    any other input; pictures and the like by a file's name
      --out FILE, --out NAME=FILE           where outputs go; by default into the working folder
      --scale N                             clips are enlarged N times; otherwise they have the size that was computed
      --no-metadata                         files do not say how they were made
      --record FILE                         the run's record; by default BUILD/run.json
      --engine coreml|simulated|blank       what runs packages: Core ML; answers that were recorded;
                                            zeros. The last two read the packages' weights all the same
      --answers FOLDER                      of `simulated`: what `plan run --answers` recorded
      --memory BYTES                        what the process may be, e.g. 3GB, where the system does not say

    entracte-run install BUILD              make all packages ready for this device
    entracte-run probe BUILD [--memory BYTES]
                                            whether the plan can run here, as JSON
    entracte-run measure BUILD [--repeats N] [--engine ...] [--answers FOLDER] [--record FILE]
                                            loads, calls and settle times, as JSON; the record is for
                                            `plan calibrate` and `target.from`

    Exit status: 0; 1 for a fault, told in one line; 2 for a command that is none; 130 when interrupted.
    """
