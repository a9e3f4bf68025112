/** The error of the helper that StopOnNaNLoss puts before the update. */
export const LOSS_IS_NAN = "torchwire_worker.helpers.training.LossIsNaN";
