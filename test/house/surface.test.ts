/** Every name that the package exports. One name more is a decision: it must be written here too. */
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { entries, sources, typesOf } from "../entries.ts";

const surface: { readonly [path: string]: { readonly values: string; readonly types: string } } = {
  ".": {
    values: `
      AbstractTrainingPhase AbstractValidationPhase CallbackError CancelEpoch CancelFitting CancelStep Checkpointer
      DataLoader EarlyStopping EnvironmentError Learner Metrics MetricsPrinter Phase ProgressPrinter PyTorchBackend
      PythonError Recorder Scheduler StepError StopOnNaNLoss TorchwireError TrainingPhase ValidationPhase Worker
      WorkerExitedError accuracy adam adamW bceWithLogits callback connectWorker crossEntropy ensurePython fineTune
      fitOneCycle forward freeze image imageFolder imagenet kw loadWeights lrFind metric mnist mse oneCycle py
      saveWeights sgd spawnWorker split unfreeze withWorker`,
    types: `
      Access AnyRef Backend BatchLike Callback CallbackState ConnectOptions CrashOptions Data Dataset Ending EventName Events
      FineTuneOptions FitOneCycleOptions FitOptions LearnerData LearnerOptions LrFindOptions LrFound LrSuggestion
      NDArray Network PythonModules PythonScript Rates Ref Report RestartOptions ResumeOptions Resumed SpawnOptions Step StepKeys
      ToPythonOptions TrainEvent Trainer WithWorkerOptions WorkerRun`,
  },
  "./bridge": {
    values: `
      EnvironmentError PythonError TorchwireError Worker WorkerExitedError bfloat16 connectWorker ensurePython float16
      fromBytes kw lend py spawnWorker withWorker`,
    types: `
      AnyRef Argument Bool BundledModules Bytes Callable ClassObject ConnectOptions ContextManager ContextOptions DType
      EnsureOptions ErrorCode Float HalfFloat Int Is Item Iter IterableOf KeptCounts KeywordClass KnownModule Kw KwArgs
      KwFunction KwIn Limits Linear LinkChange LinkState Liveness LivenessState Mapping MappingOf Maybe Module
      ModuleName ModuleOptions NDArray
      NestedNumbers Network Optimizer Pace Parameter PyBool PyCallback PyClass PyDict PyFloat PyFunction PyInt PyIter PyList
      PyModule PyNone PyNumber PyObject PyStr PyTuple PythonFrame PythonModule PythonModules Ref ResNet RestartOptions Scalar
      Seq SequenceOf
      SpawnOptions SshTarget Str Tensor TensorOptions Tup TupleOf TypedArray WithWorkerOptions WorkerRun WorkerStats
      entered inst is item`,
  },
  "./callbacks": {
    values: `
      Augment AveragedWeights Checkpointer CustomCallback CutMix EMA EarlyStopping GarbageCollect Metrics
      MetricsPrinter MixUp ProgressPrinter PyTorchBackend Recorder ReduceOnPlateau Relative SWA SanityCheck
      SanityCheckError Scheduler StopOnNaNLoss Traces callback relative throttle`,
    types: `
      Access AugmentOptions BestEpoch BetweenSteps Callback CallbackSpec CallbackState Check Checkpoint
      CheckpointerOptions Circumstances CompileOptions Control CustomCallbackOptions DeepReadonly EarlyStoppingOptions
      EmaOptions EventName Events FailedCheck GroupSchedules HyperAccess HyperparamHistory IncludedEvents
      IncludedState IncludedStepKeys KeptState KeysAt Measured MetricHistory MetricTable MetricValue MixOptions Mode
      ObservedEvent ObserverView Output Parts PhaseHistory PyTorchBackendOptions ReduceOnPlateauOptions
      SanityCheckOptions SanityView Schedulable Scheduled SchedulerOptions Schedules State StateKey Step StepEvent
      StepGroup StepKey StepKeys StepState SwaOptions ThrottleOptions Trace TraceView TracesOptions TrainEvent View`,
  },
  "./data": {
    values: `
      ArrayDataset ArrayList DataLoader RowDataset Subset arrayDataset balancedWeights batches cacheOnDisk classWeights
      fromCsv fromJsonLines fromParquet fromWorker imageFolder list loadDataset pad readIdx readImages rowDataset split stack
      subset take toNDArray`,
    types: `
      AnyArray ArrayRows Batch BatchLike BatchOptions CacheOptions CacheSource Collate CollateFunction Collated
      Collating Collation Collator ColumnType ColumnTypes CsvOptions CsvRow CsvTypes CsvValue Data DataLoaderOptions
      Dataset DecodeImageOptions EncodedImage EncodedImages Feature Features FlowTensor FromWorkerOptions ImageFolder ImageFolderOptions
      ImageOptions ImageSample ImageSource Indexed Inputs JsonLinesOptions KeepOptions LateTensor Lengths LoadDatasetOptions
      MaskOptions MemoryCounts OnnxTensor OwnRows Pad PadOptions ParquetOptions PartCollate PartsCollate Pixels Position ReadyArray
      Rows Sample SampleValue SkippedImage SplitOptions Stacked ToNDArrayOptions Values`,
  },
  "./flux": {
    values: `
      adaDelta adaGrad adaMax amsGrad binaryCrossEntropy binaryFocalLoss descent diceCoeffLoss focalLoss hingeLoss
      huberLoss klDivergence labelSmoothing logitBinaryCrossEntropy logitCrossEntropy mae momentum msle nAdam nesterov
      poissonLoss probabilityCrossEntropy rAdam rmsProp siameseContrastiveLoss squaredHingeLoss tverskyLoss`,
    types: `
      BinaryCrossEntropyOptions BinaryFocalLossOptions DiceCoeffLossOptions FocalLossOptions HingeLossOptions
      KlDivergenceOptions MsleOptions PoissonLossOptions ProbabilityCrossEntropyOptions SiameseContrastiveLossOptions
      TverskyLossOptions`,
  },
  "./formats": {
    values: `
      batch cifar10 format image imagenet mnist same sequence video`,
    types: `
      AxesFormat Format FormatContext FunctionFormat Normalization PixelOptions SequenceOptions`,
  },
  "./logging": {
    values: `
      LogHistograms LogHyperParams LogMetrics LogTraces LogVisualization Loggables RunFolder csv jsonLines tensorBoard`,
    types: `
      Backends HistogramOptions LogHistogramsOptions LogHyperParamsOptions LogRecord LogVisualizationOptions Loggable
      LoggedAudio LoggedFile LoggedHistogram LoggedImage LoggedImageOptions LoggedText LoggedValue LoggerBackend
      RunFolderOptions RunHyperparameters`,
  },
  "./losses": {
    values: `
      bce bceWithLogits cosineEmbedding crossEntropy ctc gaussianNll hingeEmbedding huber klDiv l1 loss marginRanking
      mse multiMargin multilabelMargin multilabelSoftMargin nll ownLoss poissonNll smoothL1 softMargin tripletMargin
      tripletMarginWithDistance`,
    types: `
      BceOptions BceWithLogitsOptions CosineEmbeddingOptions CrossEntropyOptions CtcOptions GaussianNllOptions
      HingeEmbeddingOptions HuberOptions KlDivOptions L1Options Loss LossFactory LossFunction LossInput LossSpec
      LossWeightFunction MarginRankingOptions ModelCall MseOptions MultiMarginOptions MultilabelMarginOptions
      MultilabelSoftMarginOptions NllOptions OwnLoss OwnLossOptions PoissonNllOptions Reduction SmoothL1Options SoftMarginOptions
      TargetKind TripletMarginOptions TripletMarginWithDistanceOptions`,
  },
  "./metrics": {
    values: `
      MeanLoss Metric SmoothLoss accuracy auc confusionMatrix epochSeconds f1 meanAbsoluteError meanSquaredError
      metric perplexity precision r2 recall rootMeanSquaredError statefulMetric topK torchmetric`,
    types: `
      AucOptions ClassMetricOptions ClassOptions CommonOptions ConfusionMatrixOptions CountingMetric DoneStep
      FoundOptions MeanBy MetricOptions MetricParts MetricResult SumArray SumOptions Tally Task ThresholdOptions
      TopKOptions TorchmetricOptions`,
  },
  "./model": {
    values: `
      classify freeze loadWeights outputs saveWeights summary unfreeze`,
    types: `
      Candidate ClassifyOptions LayerSummary LoadWeightsOptions LoadedWeights ModelSummary Outputs PredictOptions
      Prediction Samples SaveWeightsOptions SelectOptions Selected SummaryInput SummaryOptions
      TogetherOptions`,
  },
  "./optim": {
    values: `
      Hyper Hyperparameter adadelta adafactor adagrad adam adamW adamax asgd chain clipNorm clipValue expDecay
      hyperparameter invDecay lbfgs muon nadam radam rmsprop rprop sgd sparseAdam weightDecay`,
    types: `
      AdadeltaOptions AdafactorOptions AdagradOptions AdamOptions AdamWOptions AdamaxOptions AsgdOptions ChainPart
      Grouped HyperTarget HyperValue HyperValues HyperparameterOptions LbfgsOptions MuonOptions NadamOptions
      OptimizerFactory OptimizerFunction OptimizerOption OptimizerSpec ParameterGroup RadamOptions RmspropOptions
      RpropOptions SgdOptions SparseAdamOptions`,
  },
  "./schedules": {
    values: `
      anneal composed constant constantLR cosAnneal cosineAnnealingLR cosineAnnealingWarmRestarts cyclicLR exp
      exponentialLR interpolator inv linearLR loop multiStepLR oneCycle oneCycleLR oneCycleMomentum plot poly
      polynomialLR sequence shifted shortened sin sinDecay2 sinExp stateful step stepLR triangle triangleDecay2
      triangleExp warmUp`,
    types: `
      CosAnnealOptions CyclicLROptions Duration OneCycleLROptions OneCycleOptions PlotOptions RunLength Schedule Shape
      Stage Stateful`,
  },
  "./stopping": {
    values: `
      criterion disjunction gl invalidValue never numberLimit numberSinceBest or patience pq stoppingTime threshold
      timeLimit warmup`,
    types: `
      PqOptions StoppingCriterion StoppingCriterionSpec TimeLimitOptions`,
  },
};

const valuesOf = (path: string): string[] => Object.keys(entries[path]!).toSorted();
const listed = (names = ""): string[] => names.trim().split(/\s+/);

describe.each(Object.keys(entries))("the entry %s", (path) => {
  test("exports these values", () => {
    expect(valuesOf(path)).toEqual(listed(surface[path]?.values));
  });

  test("exports these types", () => {
    expect(typesOf(path)).toEqual(listed(surface[path]?.types));
  });

  test("says that it cannot work somewhere before it loads anything", () => {
    const [, first] = /^import "(.*)";$/m.exec(readFileSync(sources[path]!, "utf8"))!;
    expect(first).toMatch(/^(?:\.\.?\/)+(?:bridge\/)?platform\.ts$/);
  });

  test("has no two names that differ by capitals alone, but for a class and the function that makes it", () => {
    const same = (a: string, b: string): boolean =>
      a !== b && a.toLowerCase() === b.toLowerCase() && a.slice(1) !== b.slice(1);
    expect(valuesOf(path).filter((name) => valuesOf(path).some((other) => same(name, other)))).toEqual([]);
  });
});

test("docs/README.md says what each entry is for", () => {
  const text = readFileSync(new URL("../../docs/README.md", import.meta.url), "utf8");
  const rows = [...text.matchAll(/^\| `torchwire(\/\w+)?` \|/gm)].map(([, path = ""]) => `.${path}`);
  expect(rows).toEqual(Object.keys(entries));
});

test("the main entry has at most sixty values", () => {
  expect(valuesOf(".").length).toBeLessThanOrEqual(60);
});
